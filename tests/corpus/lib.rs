//! Empty: this package is there for its dependency, whose cases are read and not compiled.
