//! What each slot may have of its own.

use super::{Opt, opt};

/// How connections are spread over the workers.
pub(super) const SPREAD: &[Opt] = if !cfg!(feature = "spread") {
    &[]
} else {
    &[opt(
        "spread",
        None,
        Some("shared|worker"),
        concat!(
            "how tcp and udp are shared out (shared): all accept from one socket;\n",
            "  worker: one for each slot, and ready slots get connections by turns",
        ),
    )]
};

/// What outlives a worker.
pub(super) const STORE: &[Opt] = if !cfg!(feature = "fd-store") {
    &[]
} else {
    &[opt(
        "fd-store",
        None,
        Some("N"),
        concat!(
            "descriptors that a slot's workers may leave with fd3 (0), by FDSTORE=1\n",
            "  (sd_notify); the next one finds them by name, behind its listeners",
        ),
    )]
};
