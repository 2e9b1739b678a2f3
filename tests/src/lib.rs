//! End-to-end suites that drive the real binary over real sockets and files.

pub mod arrow_stream;
pub mod backup;
pub mod crash;
pub mod faults;
pub mod flight;
mod http;
pub mod load;
mod locate;
pub mod mlflow;
pub mod oracle;
mod read_back;
mod s3;
mod server;

pub use http::{Http, Reply};
pub use locate::{binary, repository, venv_python};
pub use s3::S3;
pub use server::{Server, ServerOptions, command};
