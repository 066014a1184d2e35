//! What every part of pinfire shares: the clock, randomness, limits, the record of a request and
//! the bodies that are ready to be sent. No runtime, no sockets, no text processing.

pub mod clock;
pub mod limits;
pub mod random;
pub mod uuid;

pub mod delay;
pub mod ready;
pub mod rope;
pub mod tokens;
pub mod url;

pub mod health;
pub mod record;
