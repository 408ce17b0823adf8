//! What a generation of workers is started from: read anew at each reload, kept until nobody needs it.

use super::EventLoop;
use crate::error::Error;
use crate::supervisor::Event;
use crate::units::Generation;

impl EventLoop {
    /// Reads anew what `generation` is to be started from.
    pub(super) fn load(&mut self, _generation: Generation) -> Event {
        Event::LoadFailed { error: Error::refused("reload", "it", "not built yet") }
    }
}
