//! Readers of other trackers' files, and their way into a server: TensorBoard log directories.

pub mod tensorboard;
