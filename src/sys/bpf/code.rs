//! The programs, put together from named instructions. No system call here.

use alloc::vec;
use alloc::vec::Vec;

/// Slots that can be chosen among.
pub const SLOTS_MAX: u32 = 1_024;

/// One of eBPF, as the kernel has it (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

/// One of classic BPF (`struct sock_filter`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Classic {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// A register. A helper takes R1 to R5, answers in R0, and leaves R6 to R9 alone; R10 is the stack's end.
type R = u8;
const R0: R = 0;
const R1: R = 1;
const R2: R = 2;
const R3: R = 3;
const R4: R = 4;
const R6: R = 6;
const R7: R = 7;
const R8: R = 8;
const R9: R = 9;
const STACK: R = 10;

const HELPER_MAP_LOOKUP: i32 = 1;
const HELPER_SELECT_REUSEPORT: i32 = 82;
/// The connection goes to the socket that was selected, or to one by the kernel's hash if none was.
const SK_PASS: i32 = 1;

/// Where things are in `struct sk_reuseport_md`.
const IP_PROTOCOL: i16 = 24;
const HASH: i16 = 32;
const UDP: i32 = 17;

/// The key of a map, on the stack.
const KEY: i16 = -4;

const fn one(code: u8, to: R, from: R, offset: i16, value: i32) -> Instruction {
    let registers = if cfg!(target_endian = "big") { to << 4 | from } else { from << 4 | to };
    Instruction { code, registers, offset, value }
}

const fn set(to: R, value: i32) -> Instruction {
    one(0xb7, to, 0, 0, value)
}

const fn copy(to: R, from: R) -> Instruction {
    one(0xbf, to, from, 0, 0)
}

const fn add(to: R, value: i32) -> Instruction {
    one(0x07, to, 0, 0, value)
}

const fn add_register(to: R, from: R) -> Instruction {
    one(0x0f, to, from, 0, 0)
}

const fn shift_left(to: R, bits: i32) -> Instruction {
    one(0x67, to, 0, 0, bits)
}

/// The remainder of 32-bit numbers.
const fn remainder(to: R, by: R) -> Instruction {
    one(0x9c, to, by, 0, 0)
}

const fn load_word(to: R, from: R, offset: i16) -> Instruction {
    one(0x61, to, from, offset, 0)
}

const fn store_word(to: R, offset: i16, from: R) -> Instruction {
    one(0x63, to, from, offset, 0)
}

const fn store_zero(to: R, offset: i16) -> Instruction {
    one(0x62, to, 0, offset, 0)
}

/// Adds what is in `by` to the word at `to`, and leaves in `by` what was there: at once, on every CPU.
const fn fetch_and_add(to: R, by: R) -> Instruction {
    one(0xc3, to, by, 0, 0x01)
}

const fn call(helper: i32) -> Instruction {
    one(0x85, 0, 0, 0, helper)
}

const EXIT: Instruction = one(0x95, 0, 0, 0, 0);

/// A pointer to a map, in two instructions.
const fn map(to: R, fd: i32) -> [Instruction; 2] {
    [one(0x18, to, 1, 0, fd), one(0, 0, 0, 0, 0)]
}

/// What a program is put together from: instructions, and jumps forward to places that have names.
#[derive(Clone, Copy)]
enum Line {
    Do(Instruction),
    Map(R, i32),
    /// Where this register is so.
    If(R, Test, Place),
    Jump(Place),
    Here(Place),
}

#[derive(Clone, Copy)]
enum Test {
    Is(i32),
    AtLeast(i32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    ByHash,
    Choose,
    End,
}

/// The next of the row's slots that new connections may go to; of datagrams the one that the hash of the sender's
/// address stands for. With no such slot none is selected.
pub(super) fn by_turns(row: i32, counter: i32, sockets: i32) -> Vec<Instruction> {
    use Line::{Do, Here, If, Jump, Map};
    let lines = [
        Do(copy(R6, R1)),
        // The row: how many there are.
        Do(store_zero(STACK, KEY)),
        Map(R1, row),
        Do(copy(R2, STACK)),
        Do(add(R2, KEY as i32)),
        Do(call(HELPER_MAP_LOOKUP)),
        If(R0, Test::Is(0), Place::End),
        Do(copy(R7, R0)),
        Do(load_word(R8, R7, 0)),
        If(R8, Test::Is(0), Place::End),
        // Whose turn it is.
        Do(load_word(R9, R6, IP_PROTOCOL)),
        If(R9, Test::Is(UDP), Place::ByHash),
        Map(R1, counter),
        Do(copy(R2, STACK)),
        Do(add(R2, KEY as i32)),
        Do(call(HELPER_MAP_LOOKUP)),
        If(R0, Test::Is(0), Place::End),
        Do(set(R9, 1)),
        Do(fetch_and_add(R0, R9)),
        Jump(Place::Choose),
        Here(Place::ByHash),
        Do(load_word(R9, R6, HASH)),
        Here(Place::Choose),
        Do(remainder(R9, R8)),
        // The verifier wants to see that this is in the row.
        If(R9, Test::AtLeast(SLOTS_MAX as i32), Place::End),
        Do(shift_left(R9, 2)),
        Do(add_register(R7, R9)),
        Do(load_word(R1, R7, 4)),
        Do(store_word(STACK, KEY, R1)),
        // Its socket. Where there is none the kernel's hash chooses.
        Do(copy(R1, R6)),
        Map(R2, sockets),
        Do(copy(R3, STACK)),
        Do(add(R3, KEY as i32)),
        Do(set(R4, 0)),
        Do(call(HELPER_SELECT_REUSEPORT)),
        Here(Place::End),
        Do(set(R0, SK_PASS)),
        Do(EXIT),
    ];
    assembled(&lines)
}

/// Jumps say how many instructions they pass over.
fn assembled(lines: &[Line]) -> Vec<Instruction> {
    let size = |line: &Line| match line {
        Line::Do(_) | Line::If(..) | Line::Jump(_) => 1,
        Line::Map(..) => 2,
        Line::Here(_) => 0,
    };
    let distance = |from: usize, to: Place| {
        let rest = lines[from + 1..].iter();
        rest.take_while(|line| !matches!(line, Line::Here(place) if *place == to))
            .map(size)
            .sum::<i16>()
    };
    let mut code = Vec::new();
    for (nth, line) in lines.iter().enumerate() {
        match *line {
            Line::Do(instruction) => code.push(instruction),
            Line::Map(to, fd) => code.extend(map(to, fd)),
            Line::If(register, Test::Is(value), to) => {
                code.push(one(0x15, register, 0, distance(nth, to), value));
            }
            Line::If(register, Test::AtLeast(value), to) => {
                code.push(one(0x35, register, 0, distance(nth, to), value));
            }
            Line::Jump(to) => code.push(one(0x05, 0, 0, distance(nth, to), 0)),
            Line::Here(_) => {}
        }
    }
    code
}

/// Where the kernel's random number is read from (SKF_AD_OFF + SKF_AD_RANDOM).
const RANDOM: u32 = (-0x1000_i32 + 56) as u32;

const fn classic(code: u16, value: u32) -> Classic {
    Classic { code, if_true: 0, if_false: 0, value }
}

/// A classic program answers with a place in the group. One out of `places`, each as likely: a number below their
/// count, and for each run of places that follow each other a step that maps its share. `places` are in order.
pub(super) fn at_random(places: &[u32]) -> Vec<Classic> {
    const LOAD: u16 = 0x20;
    const MODULO: u16 = 0x94;
    const ADD: u16 = 0x04;
    const IF_AT_LEAST: u16 = 0x35;
    const ANSWER: u16 = 0x16;
    let mut code = vec![classic(LOAD, RANDOM), classic(MODULO, places.len().max(1) as u32)];
    let mut before = 0;
    for run in places.chunk_by(|one, next| one + 1 == *next) {
        let after = before + run.len() as u32;
        if after < places.len() as u32 {
            // This run's share is what is below `after`.
            code.push(Classic { code: IF_AT_LEAST, if_true: 2, if_false: 0, value: after });
        }
        code.push(classic(ADD, run[0].wrapping_sub(before)));
        code.push(classic(ANSWER, 0));
        before = after;
    }
    if places.is_empty() {
        // No place of the group: the kernel's hash chooses.
        code.push(classic(0x06, u32::MAX));
    }
    code
}
