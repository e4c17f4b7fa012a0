//! Values of which copies cost nothing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A value that all copies have in common: the same query goes to forty neighbours. On the wire it is
/// the value itself.
///
/// Whoever works something out of it may leave it with it ([`Common::leave`]), for others in the same
/// process who hold a copy. It never travels, and does not count in a comparison.
pub struct Common<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: T,
    outcome: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl<T> Common<T> {
    /// What somebody has worked out of it, if it is of this type.
    pub fn outcome<O: Any>(&self) -> Option<&O> {
        self.0.outcome.get()?.downcast_ref()
    }

    /// Leaves what was worked out of it with it; the first one counts.
    pub fn leave<O: Any + Send + Sync>(&self, outcome: O) {
        self.0.outcome.get_or_init(|| Box::new(outcome));
    }
}

impl<T> From<T> for Common<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(Inner { value, outcome: OnceLock::new() }))
    }
}

impl<T> Clone for Common<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Common<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Common<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Common<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Common<T> {}

impl<T: Serialize> Serialize for Common<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Common<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn it_is_encoded_as_the_value_is_and_what_was_worked_out_of_it_stays_here() {
        let here = Common::from(7_u64);
        here.clone().leave("odd");
        here.leave("prime");
        assert_eq!(here.outcome(), Some(&"odd"));
        let bytes = codec::encode_statement(&here);
        assert_eq!(bytes, codec::encode_statement(&7_u64));
        let there: Common<u64> = codec::decode_statement(&bytes).expect("a number");
        assert_eq!(there, here);
        assert_eq!((*there, there.outcome::<&str>()), (7, None));
    }
}
