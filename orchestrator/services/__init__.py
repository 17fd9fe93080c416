"""The use cases, and the only writers of state. They ask the domain and perform what it decides."""
