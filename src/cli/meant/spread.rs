//! `--spread`, and what it does not go with.

use crate::cli::typed::{Given, Typed};
use crate::error::Error;
use crate::plan::{Plan, SPREAD_MAX, Spread, Start, Workers};

pub(super) fn spread(typed: &Typed) -> Result<Spread, Error> {
    let given = if cfg!(feature = "spread") { typed.get("spread") } else { None };
    given.map_or(Ok(Spread::Shared), read)
}

fn read(given: &Given) -> Result<Spread, Error> {
    match given.text()? {
        "shared" => Ok(Spread::Shared),
        "worker" => Ok(Spread::Worker),
        _ => Err(given.wrong("accepted: shared, worker")),
    }
}

/// Refused is what could not keep its word.
pub(super) fn check(typed: &Typed, plan: &Plan) -> Result<(), Error> {
    let Some(given) = typed.get("spread").filter(|_| plan.spread == Spread::Worker) else {
        return Ok(());
    };
    if !plan.listen.iter().any(|listen| listen.address.is_spread()) {
        return Err(given.wrong("only tcp and udp are spread, and there is no such --listen"));
    }
    for (given, listen) in typed.all("listen").zip(&plan.listen) {
        if listen.address.is_spread() && listen.options.reuseport {
            return Err(given.wrong(
                "option \"reuseport\": not with --spread worker, whose port is not shared",
            ));
        }
    }
    if plan.rules.start == Start::OnDemand {
        return Err(
            given.wrong("not with --start on-demand: a connection waits at one slot of many")
        );
    }
    match plan.workers {
        Workers::Count(count) if count > SPREAD_MAX => {
            Err(given.wrong(format_args!("accepted with up to {SPREAD_MAX} workers")))
        }
        Workers::Count(_) | Workers::Auto => Ok(()),
    }
}
