"""What training sees: splits, patches, augmentation, simulated vessel volumes with exact truth."""
