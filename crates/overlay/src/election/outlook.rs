//! What the demand comes to: what should happen, and how fast.

use super::demand::{PROMOTE_ABOVE, URGENT_ABOVE};
use std::time::Duration;

/// Time constants. A mass failure is to be answered within a minute, with some rounds of
/// [`super::REVIEW`] in it. Otherwise supernodes are added over an hour when next to none is
/// missing, and the sooner the more is missing, down to two minutes, so that where few are enough a
/// second one seldom leaves before the first has been replaced; and they are taken away over
/// hours: roles of gtk-gnutella's nodes change 30 min to 17 h apart.
const URGENT_PACE: Duration = Duration::from_secs(20);
const CALM_PACE: Duration = Duration::from_secs(60 * 60);
const CALM_LEAST: Duration = Duration::from_secs(2 * 60);
const DEMOTE_PACE: Duration = Duration::from_secs(30 * 60);

/// For how long supernodes must be missing before one is added without haste: one that is started
/// again is back by then, and its successor would be one too many.
const RESTARTS: Duration = Duration::from_secs(75);

/// How fast the time constant falls with the room that is left, where there are many supernodes. Where
/// there are few it falls faster, by the square of how many there are: of nine each is a ninth of the
/// whole, and until one that has gone is replaced a second one may go. Below [`FEW`] of [`MANY`] it is
/// as fast as it gets, lest noise be taken for a loss.
const STEEPNESS: f64 = 5.0;
const FEW: f64 = 0.3;

/// Supernodes from which on [`URGENT_PACE`] and [`CALM_LEAST`] are taken: fewer hear of each other
/// sooner, so that less time is needed for a decision to be known to all before the next one.
const MANY: f64 = 20.0;

/// What should happen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// How full the supernodes are, smoothed, with those that wait.
    pub fill: f64,
    /// Supernodes known.
    pub supernodes: u32,
    /// The supernodes that there should be: as many as are full to [`PROMOTE_ABOVE`].
    pub wanted: u32,
    /// More supernodes than that are too many for any reason that an honest one has to invite:
    /// as many as are full to [`DEMOTE_BELOW`], one, and a tenth for those that several invite at
    /// the same time.
    pub most: u32,
    /// Supernodes to be added.
    pub shortfall: f64,
    /// For how long supernodes have been missing.
    pub short_for: Duration,
    /// Supernodes that may go.
    pub surplus: f64,
    /// Supernodes that are more than would be added at this moment: some of those that have just
    /// been added may go at once.
    pub excess: f64,
    /// There is no room left for a failure.
    pub is_urgent: bool,
    /// Supernodes are missing, and one has died lately.
    pub is_loss: bool,
    /// There are fewer supernodes than the least that there should be.
    pub is_below_floor: bool,
}

impl Outlook {
    /// How many supernodes all together should add within `span`.
    pub fn due(&self, span: Duration) -> f64 {
        let size = (f64::from(self.supernodes) / MANY).clamp(0.1, 1.0);
        // Until everybody has a standby, the next failure is an outage.
        let pace = if self.is_urgent || self.is_below_floor || self.is_great_loss() {
            URGENT_PACE.mul_f64(size)
        } else if self.short_for < RESTARTS {
            return 0.0;
        } else {
            let room = (URGENT_ABOVE - self.fill) / (URGENT_ABOVE - PROMOTE_ABOVE);
            let steepness = STEEPNESS / size.max(FEW).powi(2);
            let slowness = room.clamp(0.0, 1.0).powf(steepness);
            CALM_LEAST.mul_f64(size) + CALM_PACE.mul_f64(slowness)
        };
        self.shortfall * rounds(span, pace)
    }

    /// Whether there is haste, and so few supernodes that they can look at the demand more often.
    pub fn is_brisk(&self) -> bool {
        let hurries = self.is_urgent || self.is_below_floor || self.is_loss;
        hurries && f64::from(self.supernodes) < MANY
    }

    /// Whether one that has died was so much of the whole that its place is not kept for it. Of nine
    /// the others become 12 percent fuller, and 28 when a second one follows; of those who go without
    /// a word, one in sixteen is back before a minute is over, and sees that it has a successor.
    fn is_great_loss(&self) -> bool {
        self.is_loss && f64::from(self.supernodes) < MANY
    }

    /// With which probability a supernode should step down now. `weight` is from 0 for the fittest
    /// to 2 for the least fit, 1 on average.
    pub fn resign_chance(&self, passed: Duration, weight: f64) -> f64 {
        let due = self.surplus * rounds(passed, DEMOTE_PACE);
        (due / f64::from(self.supernodes.max(1)) * weight.clamp(0.0, 2.0)).clamp(0.0, 1.0)
    }
}

/// Which part of what is to be done within `pace` is due within `span`.
fn rounds(span: Duration, pace: Duration) -> f64 {
    (span.as_secs_f64() / pace.as_secs_f64()).min(1.0)
}
