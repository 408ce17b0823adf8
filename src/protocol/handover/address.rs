//! Addresses and their options: what was asked for at the start, and what came of it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::{Carrier, Carry, Wrong, group, kinds};
use crate::protocol::address::{Address, Inherit, Ip, Listen, Options, Scope, UnixKind, UnixName};

kinds!(UnixKind, UnixKind::Stream, 0 UnixKind::Stream, 1 UnixKind::Seqpacket, 2 UnixKind::Datagram);

group!(Listen, Listen { text: String::new(), address: Address::blank(), options: Options::default() }, {
    extra 1 text,
    needed 2 address,
    extra 3 options,
});

group!(Options, Options::default(), {
    extra 1 name,
    extra 2 backlog,
    extra 3 mode,
    extra 4 user,
    extra 5 group,
    extra 6 reuseport,
    extra 7 freebind,
    extra 8 v6only,
    extra 9 device,
    extra 10 nodelay,
    extra 11 defer_accept,
    extra 12 fastopen,
    extra 13 keepalive,
});

/// Every kind of address at once; `kind` tells which counts.
#[derive(Default)]
struct Flat {
    kind: u32,
    /// Of an IP address; none is any.
    octets: Vec<u8>,
    port: u32,
    scope: u32,
    /// Of an interface, a socket or a descriptor.
    name: Vec<u8>,
    unix: Option<UnixKind>,
    is_abstract: bool,
    /// A CID, or a descriptor.
    number: u32,
}

group!(Flat, Flat::default(), {
    needed 1 kind,
    extra 2 octets,
    extra 3 port,
    extra 4 scope,
    extra 5 name,
    extra 6 unix,
    extra 7 is_abstract,
    extra 8 number,
});

const TCP: u32 = 0;
const UDP: u32 = 1;
const UNIX: u32 = 2;
const VSOCK: u32 = 3;
const NUMBER: u32 = 4;
const NAME: u32 = 5;

impl Carry for Address {
    fn blank() -> Address {
        Address::Tcp { ip: Ip::Any, port: 0 }
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut flat = flat(self);
        flat.carry(by)?;
        *self = whole(flat)?;
        Ok(())
    }
}

fn flat(address: &Address) -> Flat {
    let mut flat = Flat::default();
    match address {
        Address::Tcp { ip, port } | Address::Udp { ip, port } => {
            flat.kind = if matches!(address, Address::Tcp { .. }) { TCP } else { UDP };
            flat.port = u32::from(*port);
            match ip {
                Ip::Any => {}
                Ip::V4(addr) => flat.octets = addr.octets().to_vec(),
                Ip::V6 { addr, scope } => {
                    flat.octets = addr.octets().to_vec();
                    match scope {
                        Scope::None => {}
                        Scope::Index(index) => flat.scope = *index,
                        Scope::Name(name) => flat.name = name.as_bytes().to_vec(),
                    }
                }
            }
        }
        Address::Unix { kind, name } => {
            (flat.kind, flat.unix) = (UNIX, Some(*kind));
            let (UnixName::Path(bytes) | UnixName::Abstract(bytes)) = name;
            flat.name = bytes.clone();
            flat.is_abstract = matches!(name, UnixName::Abstract(_));
        }
        Address::Vsock { cid, port } => {
            (flat.kind, flat.number, flat.port) = (VSOCK, *cid, *port);
        }
        Address::Inherited(Inherit::Number(number)) => {
            (flat.kind, flat.number) = (NUMBER, *number as u32);
        }
        Address::Inherited(Inherit::Name(name)) => {
            (flat.kind, flat.name) = (NAME, name.as_bytes().to_vec());
        }
    }
    flat
}

fn whole(flat: Flat) -> Result<Address, Wrong> {
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).map_err(|_| Wrong::odd());
    Ok(match flat.kind {
        TCP | UDP => {
            let port = u16::try_from(flat.port).map_err(|_| Wrong::odd())?;
            let octets = flat.octets.as_slice();
            let ip = if octets.is_empty() {
                Ip::Any
            } else if let Ok(four) = <[u8; 4]>::try_from(octets) {
                Ip::V4(Ipv4Addr::from(four))
            } else {
                let all = <[u8; 16]>::try_from(octets).map_err(|_| Wrong::odd())?;
                let scope = match (flat.scope, flat.name.is_empty()) {
                    (0, true) => Scope::None,
                    (index, true) => Scope::Index(index),
                    (_, false) => Scope::Name(text(&flat.name)?),
                };
                Ip::V6 { addr: Ipv6Addr::from(all), scope }
            };
            if flat.kind == TCP { Address::Tcp { ip, port } } else { Address::Udp { ip, port } }
        }
        UNIX => {
            let name = flat.name;
            let name =
                if flat.is_abstract { UnixName::Abstract(name) } else { UnixName::Path(name) };
            Address::Unix { kind: flat.unix.ok_or_else(Wrong::odd)?, name }
        }
        VSOCK => Address::Vsock { cid: flat.number, port: flat.port },
        NUMBER => Address::Inherited(Inherit::Number(flat.number as i32)),
        NAME => Address::Inherited(Inherit::Name(text(&flat.name)?.to_owned())),
        _ => return Err(Wrong::odd()),
    })
}
