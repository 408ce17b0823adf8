//! Where `sys` and `supervisor` meet. Carries out; decides nothing.
#![allow(dead_code)]

mod listen;
mod listeners;
