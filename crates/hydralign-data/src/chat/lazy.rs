//! Values of Python that are gone through once or are written in a way of their own.

use super::python::repr;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, Value};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What `map`, `select` and their like give: gone through once, never empty to a condition, without a
/// length or a text.
#[derive(Debug)]
pub(super) struct Lazy(Mutex<Vec<Value>>);

impl Lazy {
    pub(super) fn of(value: &Value) -> Result<Value, Error> {
        let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
        Ok(Value::from_object(Self(Mutex::new(items))))
    }
}

impl Object for Lazy {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An iterator without a known length, for the length is not to be asked for.
        Enumerator::Iter(Box::new(std::mem::take(&mut *items).into_iter().filter(|_| true)))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        None
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// What `range`, and `keys`, `values` and `items` of a dict give.
#[derive(Debug)]
pub(super) struct View {
    items: Vec<Value>,
    text: String,
    /// Whether an item has a place, as in a range.
    indexed: bool,
}

impl View {
    /// The keys, values or items of a dict.
    pub(super) fn of_dict(name: &str, items: Vec<Value>) -> Result<Value, Error> {
        let mut text = format!("{name}(");
        repr(&Value::from(items.clone()), &mut text, 1)?;
        text.push(')');
        Ok(Value::from_object(Self { items, text, indexed: false }))
    }

    /// Numbers with Python's text of a range.
    pub(super) fn range(items: Vec<Value>, text: String) -> Value {
        Value::from_object(Self { items, text, indexed: true })
    }

    pub(super) fn is_range(value: &Value) -> bool {
        value.downcast_object_ref::<Self>().is_some_and(|view| view.indexed)
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.indexed { ObjectRepr::Seq } else { ObjectRepr::Iterable }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = key.as_usize().filter(|_| self.indexed)?;
        self.items.get(at).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.indexed {
            true => Enumerator::Seq(self.items.len()),
            false => Enumerator::Values(self.items.clone()),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
