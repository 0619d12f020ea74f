//! What is left of a rendering's steps, time and bytes.

use std::time::Instant;

use super::{RenderError, RenderLimits};

/// The clock is read once in so many steps: reading it costs about as much as a step.
const STEPS_A_LOOK: u64 = 64;

#[derive(Debug)]
pub struct Budget {
    steps_left: u64,
    steps_unwatched: u64,
    /// None where the time allowed reaches past what the clock can tell.
    deadline: Option<Instant>,
    bytes_max: usize,
}

impl Budget {
    pub fn new(limits: &RenderLimits) -> Self {
        Self {
            steps_left: limits.steps_max,
            steps_unwatched: 0,
            deadline: Instant::now().checked_add(limits.time_max),
            bytes_max: limits.output_bytes_max,
        }
    }

    pub fn step(&mut self) -> Result<(), RenderError> {
        self.charge(1)
    }

    pub fn charge(&mut self, steps: u64) -> Result<(), RenderError> {
        self.steps_left = self.steps_left.checked_sub(steps).ok_or(RenderError::TooManySteps)?;
        self.steps_unwatched = self.steps_unwatched.saturating_add(steps);
        if self.steps_unwatched >= STEPS_A_LOOK { self.look() } else { Ok(()) }
    }

    /// Reads the clock, as before work that may take long and cannot be interrupted.
    pub fn look(&mut self) -> Result<(), RenderError> {
        self.steps_unwatched = 0;
        match self.deadline {
            Some(deadline) if Instant::now() > deadline => Err(RenderError::TooSlow),
            _ => Ok(()),
        }
    }

    /// Counts work by the bytes that it goes through or makes: a step for each KiB.
    pub fn charge_bytes(&mut self, bytes: usize) -> Result<(), RenderError> {
        self.charge((bytes / 1024) as u64)
    }

    /// Whether something of this size may be made.
    pub fn allow(&self, bytes: usize) -> Result<(), RenderError> {
        if bytes > self.bytes_max { Err(RenderError::OutputTooLarge) } else { Ok(()) }
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}
