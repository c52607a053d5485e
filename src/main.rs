//! The `agent-portail` program.

fn main() {}
