//! Why a configuration cannot be used, and which of its settings say so.

use std::fmt;

use crate::source::{Given, Place};

/// A combination that makes no sense: what is wrong with it, and the lines of config files that
/// give the settings it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    message: String,
    places: Vec<Place>,
}

impl Refusal {
    /// About these settings. One that is only recommended is none of them.
    pub fn about(settings: &[&dyn Given], message: impl Into<String>) -> Self {
        let mut places: Vec<Place> = Vec::new();
        for place in settings.iter().flat_map(|setting| setting.places()) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Self {
            message: message.into(),
            places,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.places.is_empty() {
            return Ok(());
        }
        let places: Vec<String> = self.places.iter().map(Place::to_string).collect();
        write!(f, " ({})", places.join(", "))
    }
}

impl std::error::Error for Refusal {}

/// Ends the function with a [`Refusal`] about settings: `refuse!([a, b], "why")`.
#[macro_export]
macro_rules! refuse {
    ([$($about:expr),* $(,)?], $($message:tt)*) => {
        return Err($crate::Refusal::about(
            &[$(&$about as &dyn $crate::Given),*],
            format!($($message)*),
        )
        .into())
    };
}

/// Ends the function with a [`Refusal`] about settings unless something holds:
/// `demand!(holds, [a, b], "why")`.
#[macro_export]
macro_rules! demand {
    ($holds:expr, [$($about:expr),* $(,)?], $($message:tt)*) => {
        if !$holds {
            $crate::refuse!([$($about),*], $($message)*);
        }
    };
}

/// Errors of others that are about settings.
pub trait Blame<T> {
    /// The same error, about these settings.
    ///
    /// # Errors
    /// There was one.
    fn about(self, settings: &[&dyn Given]) -> Result<T, Refusal>;

    /// The same error, about these settings, behind their name.
    ///
    /// # Errors
    /// There was one.
    fn blame(self, settings: &[&dyn Given], name: &str) -> Result<T, Refusal>;
}

impl<T, E: Into<anyhow::Error>> Blame<T> for Result<T, E> {
    fn about(self, settings: &[&dyn Given]) -> Result<T, Refusal> {
        self.map_err(|error| {
            let error: anyhow::Error = error.into();
            Refusal::about(settings, format!("{error:#}"))
        })
    }

    fn blame(self, settings: &[&dyn Given], name: &str) -> Result<T, Refusal> {
        self.map_err(|error| {
            let error: anyhow::Error = error.into();
            Refusal::about(settings, format!("{name}: {error:#}"))
        })
    }
}
