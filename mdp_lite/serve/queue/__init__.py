"""Jobs: requests that the service sends to itself later, stored so that they survive a restart."""
