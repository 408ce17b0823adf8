//! What the kernel does with the programs, and with groups from which sockets go.

use super::*;
use crate::sys::queue::queue;
use crate::sys::socket::{self, Kind, Name, SocketOption};
use core::net::{Ipv4Addr, SocketAddrV4};
use std::net::TcpStream;
use std::os::fd::AsFd;

const COUNT: u32 = 10;

/// Listeners of one group, and its port.
fn group(count: u32) -> (Vec<OwnedFd>, u16) {
    let mut all = Vec::new();
    let mut port = 0;
    for _ in 0..count {
        let fd = joined(port);
        let Ok(Name::V4(address)) = socket::name(fd.as_fd()) else { panic!("it is IPv4") };
        port = address.port();
        all.push(fd);
    }
    (all, port)
}

fn joined(port: u16) -> OwnedFd {
    let name = Name::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let fd = socket::open(&name, Kind::Stream).expect("a socket");
    socket::set(fd.as_fd(), SocketOption::ReusePort).expect("it can be shared");
    socket::bind(fd.as_fd(), &name).expect("the port is ours");
    socket::listen(fd.as_fd(), i32::MAX).expect("it listens");
    fd
}

fn fill(all: &[OwnedFd]) -> Vec<u32> {
    all.iter().map(|fd| queue(fd.as_fd()).map_or(0, |queue| queue.len)).collect()
}

fn connect(port: u16, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens")).collect()
}

/// A chooser for these sockets; `None` where the kernel refuses.
fn chooser(row: &Row, all: &[OwnedFd]) -> Option<Chooser> {
    let chooser = match Chooser::new(row) {
        Ok(chooser) => chooser,
        Err(refusal) => {
            assert!(refusal.verdict.is_empty(), "the verifier objects: {refusal:?}");
            eprintln!("SKIPPED: {}", refusal.errno);
            return None;
        }
    };
    for (slot, fd) in (0..).zip(all) {
        chooser.set(slot, fd.as_fd()).expect("it is of the group");
    }
    chooser.attach(all[0].as_fd()).expect("the group takes it");
    Some(chooser)
}

#[test]
fn connections_go_by_turns_to_the_row_alone() {
    let Ok(row) = Row::new() else { return };
    let (all, port) = group(COUNT);
    let Some(_chooser) = chooser(&row, &all) else { return };
    let everybody: Vec<u32> = (0..COUNT).collect();
    row.set(&everybody).expect("a row");
    let _first = connect(port, 100);
    assert_eq!(fill(&all), [10; 10]);
    row.set(&[1, 4, 9]).expect("a row");
    let _second = connect(port, 30);
    assert_eq!(fill(&all), [10, 20, 10, 10, 20, 10, 10, 10, 10, 20]);
    // Nobody is ready: they wait, and none is refused.
    row.set(&[]).expect("a row");
    let _third = connect(port, 30);
    assert_eq!(fill(&all).iter().sum::<u32>(), 160);
}

#[test]
fn the_queue_of_a_socket_that_closes_goes_to_the_row() {
    let Ok(row) = Row::new() else { return };
    let (mut all, port) = group(3);
    let Some(chooser) = chooser(&row, &all) else { return };
    row.set(&[0]).expect("a row");
    let _waiting = connect(port, 20);
    assert_eq!(fill(&all), [20, 0, 0]);
    row.set(&[1, 2]).expect("a row");
    let copy = all[0].try_clone().expect("a copy");
    let fresh = joined(port);
    all[0] = fresh;
    // Somebody else holds it still.
    assert_eq!(fill(&all), [0, 0, 0]);
    drop(copy);
    assert_eq!(fill(&all), [0, 10, 10]);
    // Its place is free for its successor.
    chooser.set(0, all[0].as_fd()).expect("it takes the place");
    row.set(&[0]).expect("a row");
    let _more = connect(port, 5);
    assert_eq!(fill(&all), [5, 10, 10]);
}

#[test]
fn a_successor_takes_the_place_while_somebody_holds_the_old_one() {
    let Ok(row) = Row::new() else { return };
    let (mut all, port) = group(2);
    let Some(chooser) = chooser(&row, &all) else { return };
    row.set(&[1]).expect("a row");
    let old = core::mem::replace(&mut all[0], joined(port));
    chooser.set(0, all[0].as_fd()).expect("it takes the place");
    row.set(&[0]).expect("a row");
    let _some = connect(port, 6);
    assert_eq!(fill(&all), [6, 0]);
    drop(old);
    let _more = connect(port, 6);
    assert_eq!(fill(&all), [12, 0]);
}

#[test]
fn without_rights_connections_go_at_random_to_some_places() {
    let (all, port) = group(COUNT);
    choose_at_random(all[0].as_fd(), &[0, 2, 3, 4, 9]).expect("everybody may");
    let _some = connect(port, 400);
    let fill_now = fill(&all);
    for (place, count) in fill_now.iter().enumerate() {
        match place {
            0 | 2 | 3 | 4 | 9 => assert!((40..130).contains(count), "{fill_now:?}"),
            _ => assert_eq!(*count, 0, "{fill_now:?}"),
        }
    }
    // The last one takes the place of one that leaves.
    socket::shut(all[3].as_fd()).expect("it listens");
    let before = fill(&all);
    choose_at_random(all[0].as_fd(), &[3, 8]).expect("everybody may");
    let _more = connect(port, 200);
    for (nth, (before, after)) in before.iter().zip(fill(&all)).enumerate() {
        assert_eq!(after > *before, nth == 9 || nth == 8, "{nth}: {before} {after}");
    }
    choose_by_hash(all[0].as_fd()).expect("it had a program");
}
