//! Readers of what other trackers keep, and its way into a server: TensorBoard log directories, MLflow's servers, directories and SQLite files.

pub mod mlflow;
pub mod tensorboard;
