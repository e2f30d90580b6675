use hydralign_memory::Meter;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// One meter for several observers, each with a peak of its own.
///
/// A meter has one peak: if two observers reset it at each phase, the one that is told first
/// takes the peak away from the other. Each clone keeps what the resets of the others ended.
pub struct SharedMeter {
    meter: Rc<dyn Meter>,
    /// Of each clone: the highest peak that another clone's reset ended.
    ended: Rc<RefCell<Vec<u64>>>,
    this: usize,
}

impl SharedMeter {
    /// The first handle.
    pub fn new(meter: impl Meter + 'static) -> Self {
        Self { meter: Rc::new(meter), ended: Rc::new(RefCell::new(vec![0])), this: 0 }
    }
}

impl Clone for SharedMeter {
    /// Another handle, with the peak of this one until it is reset.
    fn clone(&self) -> Self {
        let mut ended = self.ended.borrow_mut();
        let so_far = ended[self.this];
        ended.push(so_far);
        let this = ended.len() - 1;
        Self { meter: self.meter.clone(), ended: self.ended.clone(), this }
    }
}

impl Meter for SharedMeter {
    fn bytes_in_use(&self) -> Option<u64> {
        self.meter.bytes_in_use()
    }

    fn bytes_peak(&self) -> Option<u64> {
        Some(self.meter.bytes_peak()?.max(self.ended.borrow()[self.this]))
    }

    fn reset_peak(&self) -> bool {
        let peak = self.meter.bytes_peak().unwrap_or(0);
        let mut ended = self.ended.borrow_mut();
        ended.iter_mut().for_each(|e| *e = peak.max(*e));
        ended[self.this] = 0;
        self.meter.reset_peak()
    }
}

impl fmt::Debug for SharedMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handles = self.ended.borrow().len();
        f.debug_struct("SharedMeter").field("this", &self.this).field("of", &handles).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Above;
    use crate::testing::FakeMeter;

    #[test]
    fn a_reset_ends_the_peak_of_one_handle_only() {
        let fake = FakeMeter::default();
        let first = SharedMeter::new(fake.clone());
        fake.hold(90);
        let second = first.clone();
        fake.hold(10);
        assert!(first.reset_peak());
        assert_eq!((first.bytes_peak(), second.bytes_peak()), (Some(10), Some(90)));
        fake.hold(30);
        fake.hold(20);
        assert!(second.reset_peak());
        assert_eq!((first.bytes_peak(), second.bytes_peak()), (Some(30), Some(20)));
        assert!(first.reset_peak());
        assert_eq!(first.bytes_peak(), Some(20));
        assert_eq!(first.clone().bytes_peak(), Some(20));
        assert_eq!(second.bytes_in_use(), Some(20));
    }

    #[test]
    fn handles_have_floors_of_their_own() {
        let fake = FakeMeter::default();
        fake.hold(100);
        let meter = SharedMeter::new(fake.clone());
        let (low, high) = (Above::new(meter.clone(), 40), Above::new(meter, 120));
        assert_eq!((low.bytes_in_use(), high.bytes_in_use()), (Some(60), Some(0)));
        fake.hold(150);
        assert!(low.reset_peak());
        fake.hold(50);
        assert_eq!((low.bytes_peak(), high.bytes_peak()), (Some(110), Some(30)));
        fake.forget();
        assert_eq!((low.bytes_in_use(), low.bytes_peak()), (None, None));
    }
}
