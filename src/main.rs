//! The `sidebearer` binary.

fn main() {}
