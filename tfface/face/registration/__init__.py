"""From a raw scan to a template's topology: surface query, rigid search, model prior, non-rigid ICP, quality."""
