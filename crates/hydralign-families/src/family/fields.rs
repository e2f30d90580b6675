use crate::FamilyError;
use serde_json::Value;
use std::path::Path;

/// Typed look-ups in a `config.json` whose errors name file and field.
#[derive(Debug)]
pub struct Fields<'a> {
    pub(super) value: &'a Value,
    pub(super) path: &'a Path,
}

impl<'a> Fields<'a> {
    pub(super) fn new(value: &'a Value, path: &'a Path) -> Self {
        Self { value, path }
    }

    /// What is wrong with a field.
    pub fn error(&self, field: &str, reason: impl Into<String>) -> FamilyError {
        FamilyError::Config {
            path: self.path.to_owned(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    /// A field that is present and not null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.value.get(field).filter(|v| !v.is_null())
    }

    fn required(&self, field: &str) -> Result<&'a Value, FamilyError> {
        match self.value.get(field) {
            None => Err(self.error(field, "is missing")),
            Some(Value::Null) => Err(self.error(field, "must not be null")),
            Some(value) => Ok(value),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn text(&self, field: &str) -> Result<String, FamilyError> {
        let text = self.required(field)?.as_str();
        Ok(text.ok_or_else(|| self.error(field, "must be a string"))?.to_owned())
    }

    /// A size: a positive integer that fits a tensor dimension.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn size(&self, field: &str) -> Result<usize, FamilyError> {
        match self.count(field)? {
            0 => Err(self.error(field, "must be a positive integer, got 0")),
            size => Ok(size),
        }
    }

    /// A size, or a default where there is none.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn size_or(&self, field: &str, default: usize) -> Result<usize, FamilyError> {
        self.get(field).map_or(Ok(default), |_| self.size(field))
    }

    fn count(&self, field: &str) -> Result<usize, FamilyError> {
        let value = self.required(field)?;
        let count = value.as_u64().filter(|&n| n <= u64::from(u32::MAX));
        count
            .map(|n| n as usize)
            .ok_or_else(|| self.error(field, format!("must be a positive integer, got {value}")))
    }

    /// A number of things, which may be zero, or a default where there is none.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn count_or(&self, field: &str, default: usize) -> Result<usize, FamilyError> {
        self.value.get(field).map_or(Ok(default), |_| self.count(field))
    }

    /// A finite number.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn number(&self, field: &str) -> Result<f64, FamilyError> {
        let value = self.required(field)?;
        let number = value.as_f64().filter(|n| n.is_finite());
        number.ok_or_else(|| self.error(field, format!("must be a number, got {value}")))
    }

    /// A number, or a default where there is none.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn number_or(&self, field: &str, default: f64) -> Result<f64, FamilyError> {
        self.value.get(field).map_or(Ok(default), |_| self.number(field))
    }

    /// A number above zero.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn positive(&self, field: &str) -> Result<f64, FamilyError> {
        let number = self.number(field)?;
        if number > 0.0 {
            return Ok(number);
        }
        Err(self.error(field, format!("must be positive, got {number}")))
    }

    /// A number above zero, or a default where there is none.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn positive_or(&self, field: &str, default: f64) -> Result<f64, FamilyError> {
        self.value.get(field).map_or(Ok(default), |_| self.positive(field))
    }

    /// True or false, or a default where there is none.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool, FamilyError> {
        match self.value.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.error(field, format!("must be true or false, got {other}"))),
        }
    }

    /// The fields of a nested object, if there is one.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn object(&self, field: &str) -> Result<Option<Fields<'a>>, FamilyError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) if value.is_object() => Ok(Some(Fields::new(value, self.path))),
            Some(other) => Err(self.error(field, format!("must be an object, got {other}"))),
        }
    }

    /// Fails on a field that is there as null.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    pub fn not_null(&self, field: &str) -> Result<(), FamilyError> {
        self.value.get(field).map_or(Ok(()), |_| self.required(field).map(drop))
    }

    /// The fields that are not null.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        let fields = self.value.as_object().into_iter().flatten();
        fields.filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
    }
}
