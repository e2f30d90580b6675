//! SFT, reward modelling, Hydra-SFT and PPO.
