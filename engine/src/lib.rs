//! The engine of pinfire: a plan and ready request bytes in, one record per request out.
//!
//! The modules stand in the order of the data flow.

pub mod clock;
pub mod random;
// plan comes here
pub mod text;

pub mod dataset;
// proto, core, net, sys come here
pub mod health;
pub mod record;
