//! The session as its users drive it: both sides, with every message as a frame in between.

#[cfg(test)]
mod collision;
#[cfg(test)]
mod convergence;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod leader;
#[cfg(test)]
mod lineage_lies;
#[cfg(test)]
mod malice;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod world;
