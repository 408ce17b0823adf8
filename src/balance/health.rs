//! Whether a backend serves: by checks that ask it (rise, fall), and by what becomes of connections to it.
//!
//! Unknown -> Up or Down by the first check; Up -> Down after `fall` bad checks in a row, Down -> Up after `rise` good
//! ones. Without checks it is Up. Beside that, whoever cannot be connected to `fall` times in a row is left out for a
//! while, each time twice as long; a good check or a connection ends that.
#![forbid(unsafe_code)]

use crate::units::Millis;

/// How long a backend is left out that nobody can connect to: at first, and at the most.
const LEFT_OUT: (Millis, Millis) = (Millis(1_000), Millis(30_000));

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Before its first check.
    Unknown,
    Up,
    Down,
}

/// How many checks in a row change a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    pub rise: u32,
    pub fall: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Good,
    Bad,
}

/// What is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Up,
    Down,
    /// Nobody can connect to it; it is tried again after this long.
    LeftOut(Millis),
}

#[derive(Clone, Debug)]
pub struct Health {
    state: State,
    /// Checks in a row that speak against the state.
    against: u32,
    /// Connections in a row that failed.
    failures: u32,
    left_out: Option<LeftOut>,
}

#[derive(Clone, Copy, Debug)]
struct LeftOut {
    until: Millis,
    span: Millis,
}

impl Health {
    pub fn new(is_checked: bool) -> Health {
        let state = if is_checked { State::Unknown } else { State::Up };
        Health { state, against: 0, failures: 0, left_out: None }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// By its checks.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// By its connections.
    pub fn is_left_out(&self, now: Millis) -> bool {
        self.left_out.is_some_and(|out| now < out.until)
    }

    pub fn checked(&mut self, verdict: Verdict, rules: Rules) -> Option<Change> {
        if verdict == Verdict::Good {
            self.connected();
        }
        let (wanted, needed) = match verdict {
            Verdict::Good => (State::Up, rules.rise),
            Verdict::Bad => (State::Down, rules.fall),
        };
        if self.state == wanted {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.state != State::Unknown && self.against < needed {
            return None;
        }
        (self.state, self.against) = (wanted, 0);
        Some(match verdict {
            Verdict::Good => Change::Up,
            Verdict::Bad => Change::Down,
        })
    }

    /// It can be connected to.
    pub fn connected(&mut self) -> Option<Change> {
        self.failures = 0;
        self.left_out.take().map(|_| Change::Up)
    }

    /// A connection failed. Only the first time that it is left out is to be told. Whoever is left out already is not left out for longer by others that were under way.
    pub fn not_connected(&mut self, now: Millis, rules: Rules) -> Option<Change> {
        if self.is_left_out(now) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.left_out.is_none() && self.failures < rules.fall {
            return None;
        }
        let (first, most) = LEFT_OUT;
        let span = self.left_out.map_or(first, |out| out.span.plus(out.span).min(most));
        self.left_out = Some(LeftOut { until: now.plus(span), span });
        (span == first).then_some(Change::LeftOut(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { rise: 2, fall: 3 };
    use Verdict::{Bad, Good};

    #[test]
    fn the_first_check_decides_and_then_several_in_a_row() {
        let mut health = Health::new(true);
        assert!(!health.is_up());
        assert_eq!(health.checked(Good, RULES), Some(Change::Up));
        for verdict in [Bad, Bad, Good, Bad, Bad] {
            assert_eq!(health.checked(verdict, RULES), None);
        }
        assert_eq!(health.checked(Bad, RULES), Some(Change::Down));
        assert_eq!((health.checked(Good, RULES), health.is_up()), (None, false));
        assert_eq!(health.checked(Bad, RULES), None);
        assert_eq!(health.checked(Good, RULES), None);
        assert_eq!((health.checked(Good, RULES), health.is_up()), (Some(Change::Up), true));
        let mut health = Health::new(true);
        assert_eq!(health.checked(Bad, RULES), Some(Change::Down));
    }

    #[test]
    fn who_cannot_be_connected_to_is_left_out_longer_each_time() {
        let mut health = Health::new(false);
        let mut now = Millis(0);
        assert_eq!(health.not_connected(now, RULES), None);
        assert_eq!(health.not_connected(now, RULES), None);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let span = Millis::seconds(seconds);
            let told = (seconds == 1).then_some(Change::LeftOut(span));
            assert_eq!(health.not_connected(now, RULES), told);
            assert_eq!(health.not_connected(now, RULES), None, "it is known");
            assert!(health.is_left_out(now) && health.is_up());
            now = now.plus(span);
            assert!(!health.is_left_out(now));
        }
        assert_eq!((health.connected(), health.connected()), (Some(Change::Up), None));
        assert_eq!(health.not_connected(now, RULES), None);
        assert_eq!(health.not_connected(now, RULES), None);
        assert!(health.not_connected(now, RULES).is_some());
        health.checked(Good, RULES);
        assert!(!health.is_left_out(now));
    }
}
