//! pinfire-floor: the least a client can do.
fn main() {}
