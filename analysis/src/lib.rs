//! Records in, report out.
