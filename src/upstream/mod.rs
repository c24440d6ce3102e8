//! Connections to the protected APIs and to authorization servers.
