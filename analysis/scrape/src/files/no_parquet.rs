//! Parquet in a build without the feature `parquet`: it is refused.

use super::ServerMetrics;
use crate::Run;

/// This build has no Parquet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this build of pinfire does not write Parquet (feature `parquet`)")]
pub struct NoParquet;

impl ServerMetrics {
    /// Refuses.
    ///
    /// # Errors
    /// Always: this build has no Parquet.
    pub const fn parquet(&self, _: &Run) -> Result<Option<Vec<u8>>, NoParquet> {
        Err(NoParquet)
    }
}
