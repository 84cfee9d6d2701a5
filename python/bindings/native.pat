# What nanobind's stub generator cannot know: the element types of constants. Used as `-p bindings/native.pat`.
_native\.(SCALARS|SIGNALS)$:
    \1: tuple[str, ...]
