"""The paper's augmentation presets: geometry, transforms, example sheets."""
