//! The Pando server: configuration, gRPC services, HTTP endpoints, metrics, shutdown.
