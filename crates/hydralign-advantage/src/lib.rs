//! KL estimators, shaped rewards, GAE, whitening and controllers as pure functions on slices.
