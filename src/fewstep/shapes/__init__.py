"""ShapeBench's world: a grammar of moving shapes, their captions, a renderer, and a recogniser that reads clips."""
