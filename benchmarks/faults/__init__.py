"""What clients see when experts, the service, its database or its disk fail: real processes, real signals."""
