//! Clocks and meters: what operations took, what the process used, what the machine is.

pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod machine;
pub(crate) mod meters;
