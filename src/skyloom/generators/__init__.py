"""What turns conditions into light profiles: generators by name, their weights files and the built-in ones.

Importing it loads neither torch nor weights.
"""

from skyloom.generators.ranges import apply_policy
from skyloom.generators.registry import list_models, load_model, request_profiles

__all__ = ["apply_policy", "list_models", "load_model", "request_profiles"]
