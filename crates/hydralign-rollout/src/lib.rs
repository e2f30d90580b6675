//! Samplers, the generation engine and the collection of experience.
