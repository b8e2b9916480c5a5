"""ShapeBench's world: a grammar of moving shapes, its renderer, its captions, and a recogniser that reads clips back."""
