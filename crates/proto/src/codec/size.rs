//! How many bytes a value takes in a body, without making them.
//!
//! It counts by the rules of bincode's standard configuration, which the rest of the codec leaves to
//! bincode itself: that both agree is tested for messages of every kind. A signature is 64 bytes
//! whatever it says, so that one which nobody has made yet need not be made to be counted.

use crate::key::SIGNATURE;
use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use std::fmt;

/// Bytes counted so far.
#[derive(Default)]
pub(super) struct Size(pub(super) usize);

/// A list that does not know how long it is; none of this crate is one.
#[derive(Debug)]
pub(super) struct NoLength;

impl fmt::Display for NoLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list does not know its length")
    }
}

impl std::error::Error for NoLength {}

impl Error for NoLength {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Counted = Result<(), NoLength>;

impl Size {
    #[inline]
    fn add(&mut self, bytes: usize) -> Counted {
        self.0 += bytes;
        Ok(())
    }

    /// A number without a sign: in one byte up to 250, else in as many as it needs and one before.
    #[inline]
    fn number(&mut self, value: u64) -> Counted {
        self.add(match value {
            0..=250 => 1,
            251..=0xffff => 3,
            0x1_0000..=0xffff_ffff => 5,
            _ => 9,
        })
    }

    /// A number with a sign: the sign becomes the lowest bit.
    #[inline]
    fn signed(&mut self, value: i64) -> Counted {
        self.number((value << 1 ^ value >> 63).cast_unsigned())
    }

    #[inline]
    fn list(&mut self, length: Option<usize>) -> Counted {
        self.number(length.ok_or(NoLength)? as u64)
    }
}

impl Serializer for &mut Size {
    type Ok = ();
    type Error = NoLength;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, _: bool) -> Counted {
        self.add(1)
    }

    #[inline]
    fn serialize_i8(self, _: i8) -> Counted {
        self.add(1)
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Counted {
        self.signed(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Counted {
        self.signed(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Counted {
        self.signed(value)
    }

    #[inline]
    fn serialize_u8(self, _: u8) -> Counted {
        self.add(1)
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Counted {
        self.number(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Counted {
        self.number(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Counted {
        self.number(value)
    }

    #[inline]
    fn serialize_u128(self, value: u128) -> Counted {
        match u64::try_from(value) {
            Ok(value) => self.number(value),
            Err(_) => self.add(17),
        }
    }

    #[inline]
    fn serialize_f32(self, _: f32) -> Counted {
        self.add(4)
    }

    #[inline]
    fn serialize_f64(self, _: f64) -> Counted {
        self.add(8)
    }

    #[inline]
    fn serialize_char(self, value: char) -> Counted {
        self.add(value.len_utf8())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Counted {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Counted {
        self.number(value.len() as u64)?;
        self.add(value.len())
    }

    #[inline]
    fn serialize_none(self) -> Counted {
        self.add(1)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Counted {
        self.add(1)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Counted {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Counted {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Counted {
        self.number(index.into())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Counted {
        if name == SIGNATURE { self.add(64) } else { value.serialize(self) }
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Counted {
        self.number(index.into())?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, NoLength> {
        self.list(length)?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, NoLength> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, NoLength> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, NoLength> {
        self.number(index.into())?;
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self, NoLength> {
        self.list(length)?;
        Ok(self)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NoLength> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, NoLength> {
        self.number(index.into())?;
        Ok(self)
    }
}

/// What lies in a list, a tuple or a struct is counted one after the other.
macro_rules! counts_parts {
    ($($trait:ident: $($part:ident($($key:ident: $key_type:ty)?)),+;)*) => {
        $(impl $trait for &mut Size {
            type Ok = ();
            type Error = NoLength;

            $(#[inline]
            fn $part<T: Serialize + ?Sized>(&mut self, $($key: $key_type,)? part: &T) -> Counted {
                part.serialize(&mut **self)
            })+

            #[inline]
            fn end(self) -> Counted {
                Ok(())
            }
        })*
    };
}

counts_parts! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key(), serialize_value();
    SerializeStruct: serialize_field(_name: &'static str);
    SerializeStructVariant: serialize_field(_name: &'static str);
}

#[cfg(test)]
mod tests {
    use crate::codec::{encode_statement, encoded_len};

    #[test]
    fn numbers_are_as_long_as_bincode_makes_them() {
        let edges = [0_u64, 250, 251, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
        for edge in edges {
            assert_eq!(encoded_len(&edge), encode_statement(&edge).len(), "{edge}");
            let wide = u128::from(edge) << 64 | 1;
            assert_eq!(encoded_len(&wide), encode_statement(&wide).len(), "{wide}");
            for signed in [edge.cast_signed(), -(edge >> 1).cast_signed()] {
                assert_eq!(encoded_len(&signed), encode_statement(&signed).len(), "{signed}");
            }
        }
    }

    #[test]
    fn whatever_serde_knows_is_counted() {
        #[derive(serde::Serialize)]
        enum Either {
            Nothing,
            One(i16),
            Two(bool, char),
            Named { float: f32, double: f64 },
        }
        let map = std::collections::BTreeMap::from([("a", Some(1_u8)), ("b", None)]);
        let all = (Either::Nothing, Either::One(-200), Either::Two(true, 'ß'), map);
        let named = Either::Named { float: 1.0, double: 2.0 };
        let value = (all, named, (), "text", vec![1_u32; 300], [7_i8; 3], -1_i32);
        assert_eq!(encoded_len(&value), encode_statement(&value).len());
    }
}
