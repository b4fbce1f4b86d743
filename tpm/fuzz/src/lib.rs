//! The fuzz targets' checks.

pub mod certificates;
pub mod checks;
