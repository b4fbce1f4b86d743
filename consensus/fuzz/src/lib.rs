//! The fuzz target of the consensus core: any sequence of inputs.

pub mod sequence;
