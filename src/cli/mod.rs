//! (placeholder while the first slice is being put together)
