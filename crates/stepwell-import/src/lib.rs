//! Readers of what other trackers keep, and its way into a server: TensorBoard log directories, MLflow's servers and directories.

pub mod mlflow;
pub mod tensorboard;
