//! Foreign dialects translated to use cases, a module each: MLflow's REST API.
//!
//! A dialect is given requests as they came over the network, and answers in its own words: names, limits, errors and the order
//! of results are those its clients expect. It holds no state of its own; everything it does is a use case of `stepwell-app`.

pub mod mlflow;
