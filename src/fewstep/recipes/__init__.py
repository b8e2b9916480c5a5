"""Values, no logic: each public function of these modules returns a recipe, found by `module.function`."""
