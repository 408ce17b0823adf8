//! What the operator asked for a program (user, limits, environment, ...) as a child can carry it out: names
//! are numbers, every string is made. What the child reports is worded here. For whoever starts programs.

pub(crate) mod accounts;

use alloc::ffi::CString;
use core::ffi::CStr;

use self::accounts::Account;
use crate::error::Error;
use crate::plan::{self, Inheritance, Privileges};
use crate::protocol::{capability, env_file, limit, word_at};
use crate::sys::environment;
use crate::sys::exec;
use crate::sys::process;
use crate::sys::settings::{self, Identity, Settings};
use crate::sys::spawn::{Report, Step};

/// What a child of one plan is started with.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) settings: Settings,
    /// All that is passed on and added.
    pub(crate) environment: Vec<CString>,
    /// Where COMMAND is looked for.
    pub(crate) path: Option<Vec<u8>>,
    /// Whose words count.
    pub(crate) user: u32,
}

/// Whether a variable, `NAME=VALUE`, is a program's to have from somebody else than fd3.
pub(crate) type MayPassOn = fn(&[u8]) -> bool;

/// Users and groups are looked up now: those of a reload are those of that moment.
#[inline(never)]
pub(crate) fn prepare(plan: plan::Settings, may_pass_on: MayPassOn) -> Result<Prepared, Error> {
    let account = if cfg!(feature = "settings") {
        accounts::find(plan.user.as_ref(), plan.group.as_ref())?
    } else {
        Account::default()
    };
    let own = process::own_user();
    let user = account.uid.unwrap_or(own);
    if user != own && settings::could_not_signal_others() {
        let why = "without CAP_KILL fd3 could not signal its processes";
        return Err(Error::refused("set", format_args!("user {user}"), why));
    }
    let own_path = match plan.inheritance {
        Inheritance::All => environment::variable("PATH"),
        Inheritance::Nothing => None,
    };
    let path = plan.environment.get(b"PATH").or(own_path).map(<[u8]>::to_vec);
    let settings = Settings {
        nice: plan.nice,
        limits: plan.limits,
        umask: plan.umask,
        identity: identity(&account, plan.group.is_some()),
        dropped: plan.dropped,
        folder: plan.folder,
        no_new_privs: plan.privileges == Privileges::NoNew,
    };
    let environment = environment(plan.environment, plan.inheritance, &account, may_pass_on);
    Ok(Prepared { settings, environment, path, user })
}

/// Whom a child has to become; nobody, if fd3 is that already and not root, who alone could become it.
fn identity(account: &Account, group_is_given: bool) -> Option<Identity> {
    let group = account.gid?;
    let own = settings::own_ids();
    let user_stays = account.uid.is_none() || account.uid == own.0;
    let group_stays = !group_is_given || own.1 == Some(group);
    let groups_stay = settings::has_no_other_groups(&account.groups) || !settings::may_set_groups();
    if user_stays && group_stays && groups_stay && own.0.is_some_and(|own| own != 0) {
        return None;
    }
    Some(Identity { user: account.uid, group, groups: account.groups.clone() })
}

/// What is fd3's to say is nobody else's: a worker's sockets and its slot are as fd3 tells them.
#[inline(never)]
fn environment(
    mut given: env_file::Environment,
    inheritance: Inheritance,
    account: &Account,
    may_pass_on: MayPassOn,
) -> Vec<CString> {
    for variable in &account.login {
        // Whoever gave another value, or as many variables as there can be, meant that.
        if given.get(env_file::name(variable)).is_none() {
            let _ = given.set(variable);
        }
    }
    let mut all = Vec::new();
    for variable in environment::variables() {
        if inheritance == Inheritance::Nothing {
            break;
        }
        let name = env_file::name(variable.to_bytes());
        let is_replaced =
            account.uid.is_some() && LOGIN.contains(&name) || given.get(name).is_some();
        if !is_replaced && may_pass_on(variable.to_bytes()) {
            all.push(variable.to_owned());
        }
    }
    for variable in given.into_strings() {
        if may_pass_on(variable.to_bytes()) {
            all.push(variable);
        }
    }
    all
}

/// What says who somebody is: never fd3's own where a child is another user.
const LOGIN: [&[u8]; 4] = [b"HOME", b"USER", b"LOGNAME", b"SHELL"];

/// What a child's report means; `program` and `folder` are what it was to execute, and where.
#[inline(never)]
pub(crate) fn failure(report: Report, program: &CStr, folder: Option<&CStr>) -> Error {
    let (doing, what, names) = match report.step {
        Step::Execute => return exec::error(program, report.errno),
        _ if !cfg!(feature = "settings") => ("prepare", "a worker", ""),
        Step::Folder => {
            let folder = folder.unwrap_or_default().to_string_lossy();
            return Error::system("change to", folder, report.errno);
        }
        Step::Prepare => ("prepare", "a worker", ""),
        Step::Nice => ("set", "nice", ""),
        Step::Limit => ("set", "rlimit ", limit::NAMES),
        Step::Capability => ("drop", "capability ", capability::NAMES),
        Step::Capabilities => ("drop", "capabilities", ""),
        Step::Groups => ("set", "groups", ""),
        Step::Group => ("set", "group", ""),
        Step::User => ("set", "user", ""),
        Step::NoNewPrivs => ("set", "no-new-privs", ""),
    };
    let mut what = what.to_string();
    match word_at(report.which, names) {
        "" if names.is_empty() => {}
        // A capability that came after the list was made.
        "" => what.push_str(&report.which.to_string()),
        name => what.push_str(name),
    }
    Error::system(doing, what, report.errno)
}
