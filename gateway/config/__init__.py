"""What an operator wrote, read once and judged whole: schema, loading, compiling.

This room owns the YAML file: ``schema`` says what may be written, ``loading`` reads it with the position of every value, ``secrets``
follows ``{env: }`` and ``{file: }``, ``contradictions`` refuses what would break an invariant, ``compiling`` hands every room what it
takes. It serves nothing and keeps nothing: whoever starts the gateway calls ``compiling.load_settings`` and gets settings, or every fault
at once (invariant 16).
"""
