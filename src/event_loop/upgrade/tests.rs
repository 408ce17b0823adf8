//! A state of the first version, which every later one has to understand: of an fd3 with all that it can have, in the
//! middle of a reload that somebody waits for.

use super::Handed;
use crate::protocol::control::{Order, Wait};
use crate::protocol::handover::{read, write};
use crate::supervisor::Course;
use crate::units::{Generation, Pid, SlotId};

const FIRST: &[u8] = include_bytes!("../../../tests/golden/handover-1");

#[test]
fn the_first_versions_state_is_understood() {
    let mut handed: Handed = read(FIRST).expect("it is understood");
    assert_eq!(handed.version, "0.1.0");
    let overview = handed.supervisor.overview();
    assert_eq!((overview.generation, overview.workers, overview.ready), (Generation(1), 3, 2));
    assert_eq!(overview.course, Course::Reloading { generation: Generation(2), left: 3 });
    let pids: Vec<Pid> = handed.workers.iter().map(|(pid, _)| *pid).collect();
    assert_eq!(pids, [1541, 1542, 3012, 3013, 3014].map(Pid));
    let newcomers =
        (0..3).filter_map(|slot| handed.supervisor.slot(Default::default(), SlotId(slot)));
    assert_eq!(newcomers.map(|slot| slot.workers.len()).collect::<Vec<_>>(), [2, 2, 1]);
    let addresses: Vec<String> =
        handed.listeners.iter().map(|one| one.address.to_string()).collect();
    assert_eq!(addresses, ["tcp://127.0.0.1:33281", "unix:/tmp/up-g/x.sock"]);
    assert!(handed.listeners[1].path.as_ref().is_some_and(|path| path.public));
    assert_eq!(handed.starts.len(), 2);
    for start in &handed.starts {
        assert!(start.environment.iter().any(|variable| variable.as_c_str() == c"A=b"));
        assert_eq!((start.user, start.settings.nice), (65_534, Some(1)));
    }
    assert!(handed.store.iter().all(|one| one.name == "pipe") && handed.store.len() > 3);
    let control = handed.control.as_ref().expect("there is one");
    let stages: Vec<String> = control.clients.iter().map(|(_, _, stage)| told(stage)).collect();
    assert_eq!(stages, ["waits for a reload", "waits for an upgrade"]);
    let numbers = handed.numbers();
    let mut once = numbers.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), numbers.len(), "each descriptor is handed over once");
    // What this version writes of it, it understands as well.
    let again = write(&mut handed).expect("it is small");
    assert!(read::<Handed>(&again).is_ok());
}

fn told(stage: &super::Stage) -> String {
    match stage {
        super::Stage::Asking(line) => format!("says {}", String::from_utf8_lossy(line)),
        super::Stage::Waiting(Order::Reload, Wait::ForTheOutcome) => "waits for a reload".into(),
        super::Stage::Waiting(Order::Upgrade, _) => "waits for an upgrade".into(),
        super::Stage::Waiting(..) => "waits".into(),
        super::Stage::Listening(_) => "listens".into(),
    }
}

#[test]
fn no_bytes_do_harm() {
    for end in 0..FIRST.len() {
        assert!(read::<Handed>(&FIRST[..end]).is_err(), "cut at {end}");
    }
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..2_000 {
        let mut other = FIRST.to_vec();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let place = 16 + state as usize % (other.len() - 16);
            other[place] = (state >> 32) as u8;
        }
        if let Ok(mut handed) = read::<Handed>(&other) {
            drop((write(&mut handed), handed.numbers()));
        }
    }
}
