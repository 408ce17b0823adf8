//! `--cap-drop CAP|all`: the names of capabilities(7), with or without `CAP_`, in capitals or not.
#![forbid(unsafe_code)]

use super::{place_of, whole};

/// In the order of their numbers.
pub const NAMES: &str = "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap \
    linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module \
    sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time \
    sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm \
    block_suspend audit_read perfmon bpf checkpoint_restore";

pub const ACCEPTED: &str =
    "all, a capability's name (NET_RAW, cap_net_raw), or its number from 0 to 63";

/// The capabilities that a word stands for, one bit each.
pub fn parse(text: &str) -> Option<u64> {
    if text == "all" {
        return Some(u64::MAX);
    }
    let number = match whole(text.as_bytes(), 10) {
        Some(number) => u32::try_from(number).ok()?,
        None => {
            let prefix = text.get(..4).filter(|prefix| prefix.eq_ignore_ascii_case("cap_"));
            place_of(text.get(prefix.map_or(0, str::len)..)?, NAMES)? as u32
        }
    };
    1_u64.checked_shl(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::word_at;

    #[test]
    fn names_and_numbers_are_known() {
        let table = [
            ("chown", Some(1)),
            ("CAP_KILL", Some(1 << 5)),
            ("cap_setuid", Some(1 << 7)),
            ("Net_Bind_Service", Some(1 << 10)),
            ("net_raw", Some(1 << 13)),
            ("sys_admin", Some(1 << 21)),
            ("audit_write", Some(1 << 29)),
            ("setfcap", Some(1 << 31)),
            ("mac_override", Some(1 << 32)),
            ("checkpoint_restore", Some(1 << 40)),
            ("0", Some(1)),
            ("40", Some(1 << 40)),
            ("63", Some(1 << 63)),
            ("64", None),
            ("99999999999", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("ALL", None),
            ("cap_", None),
            ("cap_all", None),
            ("net raw", None),
            ("chown,kill", None),
            ("ü_kill", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(parse("all"), Some(u64::MAX));
        for (number, name) in [(0, "chown"), (13, "net_raw"), (40, "checkpoint_restore"), (41, "")]
        {
            assert_eq!(word_at(number, NAMES), name);
        }
        assert_eq!(word_at(-1, NAMES), "");
    }
}
