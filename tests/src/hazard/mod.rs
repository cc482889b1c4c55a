//! Honest traffic that detectors are easily wrong about.
