//! `fd3 balance`: an HTTP balancer, a worker like any other. It knows nothing of the supervisor.

pub mod http;
